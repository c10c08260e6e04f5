"""Allegro, Allegro+MLP and Allegro+QDI: building, training and evaluating them with nequip."""
