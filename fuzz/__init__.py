"""The fuzzing harness: `python -m fuzz`, see fuzz/README.md.

Nothing is imported here: atheris has to be told of nasq_proto before it is loaded.
"""
