"""Code that travels: packed at the client, loaded in a task process."""
