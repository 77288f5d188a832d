"""Trainings of one model: a recipe in, a model folder and its result out."""
