"""A small blocking HTTP/1.1 client for moving large bodies; a mechanism without domain words.

Why our own: bodies go straight from the socket into a caller's reused buffer, which none of the usual libraries
do (they cost two to seven times the CPU here), and the rules for redirects, credentials and ranges are ours to hold.
It is no general client: no cookies, no compression, no HTTP/2.
"""
