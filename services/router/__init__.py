"""The router: dispatches requests to groups by the rule, over what the leaders publish."""
