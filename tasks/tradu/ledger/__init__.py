"""The ledger: the state and history of jobs, documents and blocks, in PostgreSQL. It holds no document text."""
