"""The scores over HTTP: the last published frame of each region. Only `what-if` computes, and says so."""
