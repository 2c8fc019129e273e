"""Families of evidence, one folder each; families never import each other."""
