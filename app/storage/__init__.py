"""What the features ask of a table and of a bucket: plain records and interfaces.

Nothing here knows an SDK or HTTP. `app.aws` keeps these interfaces on AWS.
"""
