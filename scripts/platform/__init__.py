"""The platform team's tool over Terragrunt: plan, review, apply exactly what was reviewed.

Terragrunt runs the units, in order and side by side; this adds what it leaves to its users: whose
account it is, what a plan would lose, and that no other plan is applied than the one reviewed.
"""
