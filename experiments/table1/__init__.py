"""The paper's Table 1 and Figure 4: a grid of runs, and what is made of its results.

`grid` trains and evaluates the cells, `summary` makes the tables of their results, `figures` the
curves and the sample sheet; `published` holds the paper's own numbers.
"""
