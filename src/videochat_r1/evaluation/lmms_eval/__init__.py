"""A plug-in for lmms-eval (github.com/EvolvingLMMs-Lab/lmms-eval, 0.7): our policies as a model of its, our tasks in its form, and its log
format as an export. Nothing here is imported before lmms-eval, or `evaluate --log-samples`, asks for it."""
