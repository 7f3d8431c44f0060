"""Report progress to a console, a log, Luigi's page, or nobody.

Read `monitor`, the interface; `console`, which prints; `terminal` (colours, closed streams); and `live_lines` (a line
for each process). Imports nothing of `pipeline`.
"""
