"""What is asked, as values: methods by name, settings, recipes, stages and their keys.

Pydantic and the standard library alone: a plan is made from these without torch.
"""
