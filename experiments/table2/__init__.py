"""The paper's Table 2, and the cost of each accuracy, which the paper does not give.

`plans` decides the configuration of each cell, `study` trains and measures it, `report` and
`figures` show the results; `published` holds the paper's own numbers.
"""
