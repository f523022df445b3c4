-- CreateTable
CREATE TABLE "Brainstorm" (
    "id" TEXT NOT NULL,
    "userId" TEXT NOT NULL,
    "title" TEXT NOT NULL,

    CONSTRAINT "Brainstorm_pkey" PRIMARY KEY ("id")
);
