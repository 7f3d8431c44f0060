"""The report: one page that shows the results, where they come from, and how to make them again.

`report` has the stage's function. A module is a part of the page (`summary`, `learning`, `classes`, `architecture`,
`origin`) or serves them: `network_results` reads, `figures` and `graph` draw, `plots` puts figures into files and
into the page, `examples` chooses test images, `revision` asks git for the commit, `markup` and `page` write HTML.
`article` has the article's figures, `comparison` the table of engines. Imports `training`, `store` and what these
import.
"""
