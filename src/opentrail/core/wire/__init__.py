"""The AWS wire protocols from the server's side: requests to operations and parameters, results to responses."""
