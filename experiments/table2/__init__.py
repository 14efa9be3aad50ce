"""The paper's Table 2, and what it does not give: what each accuracy costs.

`plans` says what is trained and for how long, `study` how it is trained and measured; `report` and
`figures` show the results.
"""
