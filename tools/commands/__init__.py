"""The commands of ./etl, one module each: the command line, and what it prints.

At its top, a command imports the standard library alone, so that its help needs no set-up; ``main`` imports the work.
"""
