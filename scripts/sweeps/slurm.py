class Slurm:
    def __init__(self, back_end, folder): raise NotImplementedError
