"""Write the report: one page with the results, their origin, and how to reproduce them.

Read `report`, then a module for each part of the page: `summary`, `learning`, `classes`, `architecture`, `origin`. They
use `network_results`, which reads; `curves`, `figures`, `graph` and `drawing`, which draw; `examples`, which chooses
test images; `revision`, which asks git; and `markup` and `page`, which write HTML. `article` reads the article's
results. Stages of their own write the table of engines, in `comparison`, and the history for other tools, in
`history_files` and `event_file`. `gate` decides whether the networks are accurate enough for a new report. Imports
`training` and `store`, and their imports.
"""
