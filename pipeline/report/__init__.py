"""Write the report: one page with the results, their origin, and how to reproduce them.

Read `report`, then a module for each part of the page: `summary`, `try_it`, `learning`, `film`, `classes`, `examples`
(test images), `architecture`, `origin`. They use `network_results`, which reads; `drawing` and `graph`, which draw;
`inline_svg`, which puts figures into the page; and `markup`, which writes HTML. `script` joins the files of
`javascript`, which bring the page to life. `article` reads the article's results. Stages of their own write the table
of engines, in `comparison`, the ranking of settings, in `sweep` and `sweep_figures`, and the history for other tools,
in `history_files`. `gate` decides whether the networks are accurate enough for a new report. Imports `training` and
`store`, and their imports.
"""
