"""Documents drawn from nothing: lines, pages, receipts, invoices, forms, cards, tables.

`typefaces`, `language` and `values` say what is written with what; `sheet` lays it out and remembers where it stands;
`data.realism` photographs the sheet; `asking` turns fields into questions. One module per skill puts them together.
"""
