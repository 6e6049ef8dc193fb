"""One file per command: parse the options, call the library, print the result."""
