"""Report progress: to a console, a log, Luigi's page, or nobody.

Read `monitor`, `console`, `terminal`, `live_lines`, `shared_notes`. Imports `files` and `errors`.
"""
