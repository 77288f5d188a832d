"""Fair comparison: one protocol for every method, results as JSON records, tables made from them."""
