"""The command line as users run it: real processes, a real server."""
