// How much a log says. Apart from the log itself, so that a command line can name the levels without loading what writes it.

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];
