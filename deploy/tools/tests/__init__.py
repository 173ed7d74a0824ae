"""Each check is given what it must refuse: what is shipped, with one thing broken."""
