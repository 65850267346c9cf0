"""What is to be computed, as values: methods by name, settings, recipes, stages and their keys.

It imports only pydantic and the standard library, so plans are made without torch.
"""
