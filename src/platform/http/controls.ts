/** Control characters forge lines in logs and terminals. Line breaks and tabs are fine in prose and nowhere else. */
export const controls = /\p{Cc}/u;
export const controlsOfProse = /[^\P{Cc}\n\r\t]/u;
