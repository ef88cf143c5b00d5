"""The teacher on layers: the next teacher. It is not the default yet: its weights must first beat those of today's."""
