"""The self-contained page of a data set: `onet inspect --html`."""
