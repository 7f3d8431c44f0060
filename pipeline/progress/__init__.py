"""Report progress to a console, a log, Luigi's page, or nobody.

Read `monitor`, the interface; `console`, which prints; `terminal` (colours, closed streams); `live_lines` (a line
for each process); and `amounts`. Imports nothing of `pipeline`.
"""
