"""How faithful are our records?  Real records are turned back into calls, made again, and compared.

``cases`` finds the distinct shapes among records, ``rebuild`` makes the call that each must have been (the inverse of
``core.recording``), ``replay`` sends it as botocore does through Opentrail to an upstream that answers as AWS did,
``compare`` says what differs, and ``report`` tells.  ``python -m opentrail.testing.fidelity RECORDS...`` does it all.
"""
