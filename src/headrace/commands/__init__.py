"""The commands, one file for each group. They translate: read the options, call the client or a part of the
server, show what came. What takes long to import is imported when it is needed.
"""
