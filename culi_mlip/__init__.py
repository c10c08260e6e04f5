"""Machine-learned potentials for lithium on copper, from structures to molecular dynamics.

nequip imports this package whenever nequip itself is imported (entry point
``nequip.extension``), so nothing heavy may be imported here.
"""

__version__ = "0.1.0"
