"""How much memory jobs take, foreseen: of trainings, of attacks, of whole jobs."""
