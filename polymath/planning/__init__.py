"""`polymath plan`: what a recipe's stages will take of memory, disk and time, before anything starts."""
