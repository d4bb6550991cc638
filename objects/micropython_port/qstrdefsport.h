// qstrs of the port that no source file mentions: none
