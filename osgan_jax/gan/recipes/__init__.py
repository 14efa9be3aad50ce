"""Recipes: the published settings of the methods, one file for each family."""
