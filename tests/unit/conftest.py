from hypothesis import settings

settings.register_profile("unit", max_examples=25, deadline=None)  # many quick properties within five seconds
settings.load_profile("unit")
