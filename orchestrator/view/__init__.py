"""What a person sees: the only rooms that know Rich and terminals."""
