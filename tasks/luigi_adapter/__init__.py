"""Change Luigi's behaviour where the pipeline needs another.

Each module names the behaviour that it changes, the Luigi that it was written for, and when it can go. Read
`parameters`, `configuration`, `errors`, `command_line`, `interrupts`, `console`, `luigid`. Imports `progress`,
`web` and `errors`.
"""
