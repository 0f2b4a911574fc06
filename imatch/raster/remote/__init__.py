"""Files on other hosts: how they are read, known again and refused."""
