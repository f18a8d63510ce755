"""Rollouts: a new model takes a growing share of an old one's blocks, and is promoted or rolled back by evidence."""
