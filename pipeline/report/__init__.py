"""Write the report: one page with the results, their origin, and how to reproduce them.

Read `report`, then a module for each part of the page: `summary`, `learning`, `classes`, `architecture`, `origin`. They
use `network_results`, which reads; `figures`, `graph` and `drawing`, which draw; `examples`, which chooses test images;
`revision`, which asks git; and `markup` and `page`, which write HTML. `comparison` has a stage of its own: the table of
engines. `article` has the article's results. Imports `training`, `store` and their imports.
"""
