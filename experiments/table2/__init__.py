"""The paper's Table 2, and what it does not give: what each accuracy costs.

`cells` says what is trained and for how long, `grid` trains and measures it, `results` reads it
back, `report` and `figures` show it; `published` holds the paper's numbers.
"""
