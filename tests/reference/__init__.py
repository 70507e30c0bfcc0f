"""Slow, obvious versions, written from the papers and the official codes; they import nothing from neglab."""
