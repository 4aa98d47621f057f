"""Work of the data stages on many machines: the only room that imports ray.

A cluster fills in what is named by its content, and the stages then find it done: a run's files are the same
with and without one, and a job that was killed goes on because a key that exists is done.
"""
