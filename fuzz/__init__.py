"""The fuzzing harness: `python -m fuzz`, see fuzz/README.md.

Nothing is imported here, since atheris must instrument nasq_proto while it is imported.
"""
